"""What a configuration asks for: chains, arms, which is compared with which, on which items."""
