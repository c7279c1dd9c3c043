"""What an administrator does to the whole: back up, restore, move to another database, rehearse an upgrade."""
