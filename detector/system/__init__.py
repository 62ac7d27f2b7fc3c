"""What the program asks of the system that it runs on: memory, priorities, sockets."""
