"""Looking after the data: backups, restore, the check of what is stored and what it can repair."""
