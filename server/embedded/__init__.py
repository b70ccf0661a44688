"""What runs beside the web process when nothing else has been set up."""
