// Digests of bytes that pass by: XXH3 to notice damage, SHA-256 to notice
// malice.
//
// Each kind registers itself in a target of its own (:xxh3, :sha256), so that a
// program depends on what it uses.

#ifndef WINDLASS_IO_TRANSFER_DIGEST_H_
#define WINDLASS_IO_TRANSFER_DIGEST_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace windlass {

enum class DigestKind { kNone, kXxh3, kSha256 };

// "none", "xxh3", "sha256"; nullopt for another name.
std::optional<DigestKind> ParseDigestKind(absl::string_view name);
absl::string_view DigestKindName(DigestKind kind);

// Not thread-safe.
class Digest {
 public:
  virtual ~Digest() = default;

  virtual void Update(absl::Span<const char> bytes) = 0;

  // In hexadecimal: 16 digits of XXH3-64 (seed 0, canonical byte order), 64 of
  // SHA-256. Called once.
  virtual std::string Finish() = 0;

  // Unimplemented for a kind that is not linked into this program.
  static absl::StatusOr<std::unique_ptr<Digest>> Create(DigestKind kind);
};

// Registers a kind at start-up.
class DigestRegistrar {
 public:
  using Factory = std::unique_ptr<Digest> (*)();
  DigestRegistrar(DigestKind kind, Factory factory);
};

}  // namespace windlass

#endif  // WINDLASS_IO_TRANSFER_DIGEST_H_
