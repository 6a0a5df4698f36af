"""Where events are kept. A store knows no HTTP and is handed what the rules have passed."""
