"""The rooms of benches/images: the machine, the images, the tools, the parts, the report."""
