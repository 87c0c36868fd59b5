// XXH3 of 64 bits, by xxHash.

#include <memory>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "windlass/io/transfer/digest.h"
#include "xxhash.h"

namespace windlass {
namespace {

class Xxh3Digest : public Digest {
 public:
  Xxh3Digest() { XXH3_64bits_reset(state_.get()); }

  void Update(absl::Span<const char> bytes) override {
    XXH3_64bits_update(state_.get(), bytes.data(), bytes.size());
  }

  std::string Finish() override {
    XXH64_canonical_t canonical;
    XXH64_canonicalFromHash(&canonical, XXH3_64bits_digest(state_.get()));
    return absl::BytesToHexString(
        absl::string_view(reinterpret_cast<const char*>(canonical.digest),
                          sizeof(canonical.digest)));
  }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  const std::unique_ptr<XXH3_state_t, Free> state_{XXH3_createState()};
};

const DigestRegistrar registrar(DigestKind::kXxh3,
                                []() -> std::unique_ptr<Digest> {
                                  return std::make_unique<Xxh3Digest>();
                                });

}  // namespace
}  // namespace windlass
