"""Optional packages, which extras install."""
