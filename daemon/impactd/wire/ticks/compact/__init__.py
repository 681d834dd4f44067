"""Our own compact batches of books and trades (`impactd.books/1`), for desks that write their own feed handlers."""
