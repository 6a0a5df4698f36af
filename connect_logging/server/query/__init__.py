"""From the text of a query to the database statement that answers it: parser, then compiler in a dialect."""
