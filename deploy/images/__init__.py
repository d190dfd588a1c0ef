"""What is made and tried while an image is built."""
