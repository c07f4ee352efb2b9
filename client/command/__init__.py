"""What the commands share: arguments, environment, target, exit codes."""
