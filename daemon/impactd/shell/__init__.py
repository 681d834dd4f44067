"""All I/O: Kafka, files, clocks, processes, HTTP and logs.

Each module moves bytes and time between the world and the core, and translates foreign exceptions at the boundary.
"""
