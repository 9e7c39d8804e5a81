/* Empty: bcc brings its own linux/bpf.h, and includes it before this. */
