"""What minid keeps: content-addressed blobs and the records about them."""
