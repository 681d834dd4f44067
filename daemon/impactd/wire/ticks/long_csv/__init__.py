"""The long CSV of books, one level a line."""
