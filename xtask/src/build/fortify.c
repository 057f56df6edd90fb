/* Debian's libunwind.a is compiled against glibc with _FORTIFY_SOURCE and so asks for a checked fprintf, which
 * musl does not have. In: libunwind's own debug messages. Out: the same, through musl's vfprintf. */
#include <stdarg.h>
#include <stdio.h>

int __fprintf_chk(FILE *stream, int flag, const char *format, ...)
{
	va_list arguments;
	int written;

	(void)flag;
	va_start(arguments, format);
	written = vfprintf(stream, format, arguments);
	va_end(arguments);
	return written;
}
