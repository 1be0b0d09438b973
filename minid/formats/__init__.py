"""Pure formats: bytes in, values out. Nothing here touches the machine."""
