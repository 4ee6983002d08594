/* A small real delegate for LiteRT, for the tests: it runs two kinds of operations itself.
 *
 * "fake-op-double", a custom operation that LiteRT lacks: each number of its input, doubled. (A
 * model compiled for an Edge TPU is of this kind: one custom operation that a delegate takes.)
 * RESHAPE: the bytes of its input; with the option "erase=1" all zero, so that a test can see in
 * the result who ran it. With "idle=1" it takes nothing.
 *
 * The declarations are the leading parts of TensorFlow Lite's C structures, as documented in its
 * headers (tensorflow/lite/core/c/common.h); delegates are loaded by the two functions at the end
 * (tensorflow/lite/delegates/external/external_delegate_interface.h).
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef enum { OK = 0, ERROR = 1 } Status;
enum { RESHAPE = 22, CUSTOM = 32, UINT8 = 3, FLOAT32 = 1 };

typedef struct { int size; int data[]; } IntArray;
typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
  int type;
  union { void *raw; uint8_t *uint8; float *f; } data;
  IntArray *dims;
  struct { float scale; int32_t zero_point; } params;
  int allocation_type;
  size_t bytes;
  /* … */
  const void *allocation;
  const char *name;
  Delegate *delegate;
  int buffer_handle;
  bool data_is_stale, is_variable;
  struct { int type; void *params; } quantization;
  void *sparsity;
  IntArray *dims_signature;
} Tensor;

typedef struct {
  IntArray *inputs, *outputs, *intermediates, *temporaries;
  void *user_data;
  /* … */
} Node;

typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  Status (*prepare)(Context *, Node *);
  Status (*invoke)(Context *, Node *);
  const char *(*profiling_string)(const Context *, const Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *registration_external;
  void *async_kernel;
  uint64_t inplace_operator;
} Registration;

struct Context {
  size_t tensors_size;
  Status (*GetExecutionPlan)(Context *, IntArray **);
  Tensor *tensors;
  void *impl;
  Status (*ResizeTensor)(Context *, Tensor *, IntArray *);
  void (*ReportError)(Context *, const char *, ...);
  Status (*AddTensors)(Context *, int, int *);
  Status (*GetNodeAndRegistration)(Context *, int, Node **, Registration **);
  Status (*ReplaceNodeSubsetsWithDelegateKernels)(Context *, Registration, const IntArray *,
                                                  Delegate *);
  /* … */
};

struct Delegate {
  void *data;
  Status (*Prepare)(Context *, Delegate *);
  void *copy_from, *copy_to, *free_buffer;
  int64_t flags;
  void *opaque;
};

/* What the kernel is given: the part of the graph that it replaces. */
typedef struct {
  Delegate *delegate;
  IntArray *nodes, *inputs, *outputs;
} Part;

typedef struct { int source, target, doubles; } Step;
typedef struct { int count; Step steps[]; } Kernel;

static bool erase, idle;
static int invocations;

int delegate_invocations(void) { return invocations; }

static bool doubles(const Registration *operation) {
  return operation->builtin_code == CUSTOM && operation->custom_name &&
         strcmp(operation->custom_name, "fake-op-double") == 0;
}

static void *init(Context *context, const char *buffer, size_t length) {
  const Part *part = (const Part *)buffer;
  (void)length;
  Kernel *kernel = malloc(sizeof(Kernel) + part->nodes->size * sizeof(Step));
  kernel->count = part->nodes->size;
  for (int i = 0; i < kernel->count; i++) {
    Node *node;
    Registration *operation;
    context->GetNodeAndRegistration(context, part->nodes->data[i], &node, &operation);
    kernel->steps[i] = (Step){node->inputs->data[0], node->outputs->data[0], doubles(operation)};
  }
  return kernel;
}

static void release(Context *context, void *buffer) {
  (void)context;
  free(buffer);
}

static Status prepare(Context *context, Node *node) {
  const Kernel *kernel = node->user_data;
  for (int i = 0; i < kernel->count; i++) {
    if (!kernel->steps[i].doubles) continue; /* a reshaped tensor knows its size already */
    const Tensor *source = &context->tensors[kernel->steps[i].source];
    IntArray *shape = malloc(sizeof(IntArray) + source->dims->size * sizeof(int));
    memcpy(shape, source->dims, sizeof(IntArray) + source->dims->size * sizeof(int));
    if (context->ResizeTensor(context, &context->tensors[kernel->steps[i].target], shape) != OK)
      return ERROR;
  }
  return OK;
}

static Status invoke(Context *context, Node *node) {
  const Kernel *kernel = node->user_data;
  for (int i = 0; i < kernel->count; i++) {
    const Tensor *source = &context->tensors[kernel->steps[i].source];
    Tensor *target = &context->tensors[kernel->steps[i].target];
    if (kernel->steps[i].doubles) {
      if (source->type != UINT8 || target->type != FLOAT32) return ERROR;
      for (size_t j = 0; j < source->bytes; j++) target->data.f[j] = 2.0f * source->data.uint8[j];
    } else if (erase) {
      memset(target->data.raw, 0, target->bytes);
    } else {
      memcpy(target->data.raw, source->data.raw, target->bytes);
    }
  }
  invocations++;
  return OK;
}

static Status take(Context *context, Delegate *delegate) {
  IntArray *plan;
  if (context->GetExecutionPlan(context, &plan) != OK) return ERROR;
  IntArray *mine = malloc(sizeof(IntArray) + plan->size * sizeof(int));
  mine->size = 0;
  for (int i = 0; i < plan->size; i++) {
    Node *node;
    Registration *operation;
    if (context->GetNodeAndRegistration(context, plan->data[i], &node, &operation) != OK)
      return ERROR;
    if (!idle && (operation->builtin_code == RESHAPE || doubles(operation)))
      mine->data[mine->size++] = plan->data[i];
  }
  Registration kernel = {.init = init, .free = release, .prepare = prepare, .invoke = invoke};
  kernel.custom_name = "TestDelegate";
  kernel.version = 1;
  Status status =
      context->ReplaceNodeSubsetsWithDelegateKernels(context, kernel, mine, delegate);
  free(mine);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count,
                                        void (*report_error)(const char *)) {
  erase = idle = false;
  for (size_t i = 0; i < count; i++) {
    if (strcmp(keys[i], "erase") == 0) {
      erase = strcmp(values[i], "1") == 0;
    } else if (strcmp(keys[i], "idle") == 0) {
      idle = strcmp(values[i], "1") == 0;
    } else {
      report_error("this delegate knows only the options erase and idle");
      return NULL;
    }
  }
  Delegate *delegate = calloc(1, sizeof(Delegate));
  delegate->Prepare = take;
  delegate->flags = 1; /* asked before the sizes of all tensors are known */
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
