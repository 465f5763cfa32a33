"""When and where runs take place: the daemon, workers and their queue, processes side by side."""
