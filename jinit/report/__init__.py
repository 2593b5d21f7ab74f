"""What people look at. Needs the extra ``lab``."""
