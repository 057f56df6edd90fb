/* Where CPython keeps the Context that runs, by its internal headers. In: the headers of a release. Out: a line. */
#define Py_BUILD_CORE 1
#include <Python.h>
#include <stddef.h>
#include <stdio.h>
#include <internal/pycore_context.h>
#include <internal/pycore_runtime.h>

#if PY_VERSION_HEX >= 0x030c0000
#define KEY offsetof(_PyRuntimeState, autoTSSkey)
#else
#define KEY offsetof(_PyRuntimeState, gilstate.autoTSSkey)
#endif

/* What ebpf/programs/src/python.rs takes for granted in every release. */
_Static_assert(offsetof(PyContext, ob_base.ob_type) == 8, "PyObject.ob_type");
_Static_assert(offsetof(PyContext, ctx_prev) == 16, "PyContext.ctx_prev");
_Static_assert(offsetof(PyContext, ctx_entered) == 40, "PyContext.ctx_entered");
_Static_assert(sizeof(((PyContext *)0)->ctx_entered) == 4, "PyContext.ctx_entered");
_Static_assert(sizeof(((Py_tss_t *)0)->_key) == 4, "Py_tss_t._key");

int main(void)
{
	printf("%-10s %5zu %6zu %7zu\n", PY_VERSION, KEY + offsetof(Py_tss_t, _key),
	       offsetof(PyThreadState, thread_id), offsetof(PyThreadState, context));
	return 0;
}
