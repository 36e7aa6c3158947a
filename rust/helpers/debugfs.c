// SPDX-License-Identifier: GPL-2.0
/*
 * Files in debugfs. Without debugfs its functions return errors, which may be
 * passed on to the others: there is nothing to check.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "helpers.h"

static int rust_ext_debugfs_show(struct seq_file *seq, void *unused)
{
	struct rust_ext_debugfs_file *file = seq->private;

	file->show(seq, file);
	return 0;
}
/* The owner is this module, which can't go while the file is open. */
DEFINE_SHOW_ATTRIBUTE(rust_ext_debugfs);

__rust_helper struct dentry *rust_ext_debugfs_create_module_dir(void)
{
	return debugfs_create_dir(KBUILD_MODNAME, NULL);
}

__rust_helper struct dentry *
rust_ext_debugfs_create_dir(const char *name, struct dentry *parent)
{
	return debugfs_create_dir(name, parent);
}

__rust_helper void
rust_ext_debugfs_create_file(const char *name,
			     struct rust_ext_debugfs_file *file)
{
	debugfs_create_file(name, 0400, file->dir, file, &rust_ext_debugfs_fops);
}

__rust_helper void rust_ext_debugfs_remove(struct dentry *dentry)
{
	debugfs_remove(dentry);
}
