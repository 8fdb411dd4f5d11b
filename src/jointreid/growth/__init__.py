"""`jointreid add-domain`: train a finished run further with new data sets, and measure what it forgets."""
