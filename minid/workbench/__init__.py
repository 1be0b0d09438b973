"""What people do to built images: edit, give away, look into, try things in, clean up."""
