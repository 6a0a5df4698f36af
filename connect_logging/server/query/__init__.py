"""From the text of a query to the database statement that answers it: model, then compiler in a dialect."""
