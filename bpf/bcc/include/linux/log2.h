/* Empty: linux/kconfig.h says why. */
