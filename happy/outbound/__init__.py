"""Third parties and files: nothing here knows our own clients."""
