"""Several processes that train one model: how many, who starts them, and how they meet."""
