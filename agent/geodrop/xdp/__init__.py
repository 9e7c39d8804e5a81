"""The XDP engine: layouts and encoding are pure; libbpf, pins and links touch the kernel; engine ties them together."""
