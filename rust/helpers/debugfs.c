// SPDX-License-Identifier: GPL-2.0
/*
 * Files in debugfs, in a directory of the module that is there while it has
 * files.
 *
 * Without debugfs its functions return errors, which may be passed on to the
 * others: there is nothing to check.
 */
#include <linux/debugfs.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>

#include "helpers.h"

/* Protects the two below. */
static DEFINE_MUTEX(module_dir_lock);
static struct dentry *module_dir;
static unsigned int module_dir_users;

static struct dentry *module_dir_get(void)
{
	guard(mutex)(&module_dir_lock);
	if (!module_dir_users++)
		module_dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	return module_dir;
}

static void module_dir_put(void)
{
	guard(mutex)(&module_dir_lock);
	if (!--module_dir_users)
		debugfs_remove(module_dir);
}

static int rust_ext_debugfs_show(struct seq_file *seq, void *unused)
{
	struct rust_ext_debugfs_file *file = seq->private;

	file->show(seq, file);
	return 0;
}
/* The owner is this module, which can't go while the file is open. */
DEFINE_SHOW_ATTRIBUTE(rust_ext_debugfs);

void rust_ext_debugfs_create(struct rust_ext_debugfs_file *file,
			     const char *dir, const char *name,
			     void (*show)(struct seq_file *seq,
					  struct rust_ext_debugfs_file *file))
{
	file->show = show;
	file->dir = debugfs_create_dir(dir, module_dir_get());
	debugfs_create_file(name, 0400, file->dir, file,
			    &rust_ext_debugfs_fops);
}

void rust_ext_debugfs_remove(struct rust_ext_debugfs_file *file)
{
	debugfs_remove(file->dir);
	module_dir_put();
}
