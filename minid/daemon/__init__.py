"""The service: the folder, the upstreams, the queue, and who asks for them. Prints nothing."""
