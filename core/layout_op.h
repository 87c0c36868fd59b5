// Operations of a LayoutTable: what is done to tensors on the way from Hugging
// Face's layout to the native one, and what undoes it.
//
// An operation is a value: it is given the tensors of a row, one for each name,
// and changes them. Forward is from HF to native.

#ifndef WINDLASS_CORE_LAYOUT_OP_H_
#define WINDLASS_CORE_LAYOUT_OP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "windlass/core/dequantize.h"
#include "windlass/core/dtype.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/core/tensor.h"

namespace windlass {

// What an operation knows besides the tensors.
struct LayoutContext {
  DeviceMesh mesh;
  // FromHfOptions's.
  bool optimizer_state = false;
  // The inputs' names, for messages: one for each tensor as long as no
  // operation before has joined or cut any.
  std::vector<absl::string_view> names;
};

// An extent of a tensor that a row expects.
struct LayoutDim {
  // "I"; tensors that are grouped agree on dimensions of one name. Empty for
  // one that may be anything.
  std::string name;
  // Its extent, or -1 where only the tensors say it.
  int64_t size = -1;
  // For messages, where the size comes from: "config.json: field "x"".
  std::string origin = {};
};

// Immutable. Use the factories below.
struct LayoutOp {
  enum class Kind {
    kExact,   // backward undoes forward
    kLossy,   // forward rounds; backward leaves it so
    kOneWay,  // what backward gives is of another form than forward took
  };
  using Function = std::function<absl::Status(const LayoutContext& context,
                                              std::vector<Tensor>* tensors)>;

  std::string name;
  // As a file of rules has it (docs/rules.md), JSON; empty where none can.
  std::string rule = {};
  Kind kind = Kind::kExact;
  Function forward;
  Function backward;
  // How many tensors forward takes and gives; 0 takes any number and keeps it.
  int takes = 0;
  int gives = 0;
  // Only places of elements change, so that a cast may just as well come first.
  bool moves = false;
  // Transpose(); and what gives the same of tensors that are not transposed
  // yet as this of transposed ones, but for a transpose. Null for none.
  bool transposes = false;
  std::shared_ptr<const LayoutOp> before_transpose;
  // Tensors without companions and of a dtype of more than eight bits are left
  // alone, and so is every tensor on the way back.
  bool unpacks = false;
  // Nothing but the dtype changes.
  bool casts = false;

  // Set by Shapes(): what is expected of each HF tensor.
  std::vector<std::vector<LayoutDim>> shapes;
  // Set by Stack(): the capture, and how many there are of it.
  std::string over;
  LayoutDim count;
  // Set by Hold(): the dtype on both sides.
  std::optional<DType> held;
};

// The functions are in a namespace of their own: tensor_ops.h has others of
// these names.
namespace layout {

// The first of a row: the shapes of its HF tensors, in the order of their
// names. InvalidArgument names the tensor that has another.
LayoutOp Shapes(std::vector<std::vector<LayoutDim>> shapes);

// The last two dimensions exchanged.
LayoutOp Transpose();

// All tensors one after the other along dimension `dim`; back, they are cut to
// these extents. Widths of -1 (all of them, then) are equal shares.
LayoutOp Concat(int dim, std::vector<int64_t> widths);

// The inverse: one HF tensor is cut, the native ones are joined.
LayoutOp Split(int dim, std::vector<int64_t> widths);

// A new outermost dimension over the numbers of a capture, 0 to count - 1, all
// of which have to be there. A rank of an expert-parallel mesh has its share.
LayoutOp Stack(std::string capture, LayoutDim count);

// The outermost dimension has `count` elements in HF and the rank's share of
// them in native. From a share, the whole cannot be given back.
LayoutOp Share(LayoutDim count);

// Each of the stacked matrices is cut along `dim`: a rank of the mesh's
// ep_shard has an equal share, which the extent must allow. From a share, the
// whole cannot be given back.
LayoutOp ShareWithin(int dim);

// To native, values are rounded to `dtype`; back, they are left as they are.
LayoutOp Cast(DType dtype);

// Nothing is done; codes of eight bits or less are refused, as Cast refuses
// them: something should have unpacked them.
LayoutOp NotPacked();

// The same of floats; all else stays as it is.
LayoutOp CastFloats(DType dtype);

// Cast both ways, of float dtypes alone, and the dtype that is forced in HF.
LayoutOp Hold(DType dtype);

// Another shape of as many elements. An extent of -1 is what remains. Back, the
// shape is `hf`; at most one extent of it is -1.
LayoutOp Reshape(Shape native, Shape hf);

// As torch.squeeze(dim) and unsqueeze(dim); a native tensor of `native_rank`
// dimensions is given the other back, all others are left alone.
LayoutOp Squeeze(int dim, int native_rank);

// The halves of dimension `dim` in turn.
LayoutOp Interleave(int dim);

// In HF, zeros at the end of dimension `dim` fill it up from `native` to `hf`
// elements, which are cut off. What has them or lacks them on the wrong side
// stays as it is; another extent is InvalidArgument.
LayoutOp Pad(int dim, LayoutDim native, int64_t hf);

// Codes and, where the file has it, their scale to values of `dtype`. What has
// a scale is unpacked; what has none stays as it is, unless it is of a dtype of
// eight bits or less: InvalidArgument then, and for a scale beside floats of
// more bits, which is left over from codes. Back, values are left as they are.
// Scales that no block needs are left out, or refused with `exact_scales`.
LayoutOp Dequantize(PackedFormat format, DType dtype,
                    bool exact_scales = false);

// The same of files that have both: of codes that are floats of whole bytes,
// and of those that are `packed` in anything else, which are refused without a
// scale.
LayoutOp Dequantize(PackedFormat floats, PackedFormat packed, DType dtype);

// As Dequantize with exact scales; what a scale is for is told by its shape: a
// number for the whole tensor, one for each index of the outermost of three
// dimensions, or else blocks of 128 x 128.
LayoutOp DequantizeByScale(DType dtype);

// As Dequantize in blocks of `block` x `block`; back, a matrix is rounded to
// F8_E4M3 and gets a scale of 1 for each block, in F32. What is no matrix of
// floats stays as it is.
LayoutOp CastFp8(DType dtype, int64_t block = 128);

// INT4 as compressed-tensors packs it: codes I32 [..., N / 8], scales
// [..., groups] (or all of them in one dimension) and an integer tensor that
// holds the shape, to values in BF16; and back by QuantizeInt4. The shape is
// that of the codes; reading fails where the tensor says another.
LayoutOp Int4();

// Forward alone: any function of the tensors.
LayoutOp OneWay(std::string name, int takes, int gives,
                LayoutOp::Function forward, LayoutOp::Function backward);

}  // namespace layout

// The share [first, second) of `count` that a rank has: as even as can be, the
// first ranks have one more.
std::pair<int64_t, int64_t> RankShare(int64_t count, const DeviceMesh& mesh);

}  // namespace windlass

#endif  // WINDLASS_CORE_LAYOUT_OP_H_
