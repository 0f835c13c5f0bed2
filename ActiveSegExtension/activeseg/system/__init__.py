"""What is done with the operating system: files that appear whole, locks, disks, processes, memory."""
