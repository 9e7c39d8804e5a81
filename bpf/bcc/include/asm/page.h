/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Empty: linux/kconfig.h says why. */
