"""Who runs the jobs: in a process of its own beside the server, in threads of the server, or at the command line."""
