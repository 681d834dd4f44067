"""The long CSV of books, one level per line."""
