"""The service: the folder, the upstreams, the queue, and who asks for them. Prints nothing.

`folder_watch` tells which recipes may have changed, `catalogue` what they mean now.
"""
