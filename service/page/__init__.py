"""The search page for people: plain files and the one class that sends them."""
