"""The service on Modal: settings, GPUs, images, weights, addresses, and the benchmark."""
