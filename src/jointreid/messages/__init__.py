"""Messages for people: errors, printed lines, lists, tables, values in words and progress bars."""
