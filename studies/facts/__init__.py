"""What each paper states, fact by fact with its source; the studies and the audit rest on it."""
