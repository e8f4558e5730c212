"""The frames of the protocol and its delivery rules: no Django, no asyncio."""
