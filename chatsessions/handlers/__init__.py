"""What bots import: the chat, its context, messages, questions and values."""
