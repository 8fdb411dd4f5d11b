"""`jointreid serve`: a gallery as a page and as JSON over HTTP. Images that are sent stay in memory."""
