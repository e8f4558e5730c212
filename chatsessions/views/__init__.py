"""What is asked for by HTTP, beside the conversation itself."""
