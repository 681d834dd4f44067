"""All I/O: Kafka, files, clocks, processes, HTTP and logs.

Each module moves bytes and time between the world and the core, and translates foreign exceptions at the boundary.

What a person can remedy has one of three errors, and its text names the remedy: `InputFileError` for files,
`FatalError` for brokers and topics, `BrokerUnavailable` where no broker can be started. A docstring names them where
more holds, such as that nothing was written.
"""
