#include "windlass/io/transfer/digest.h"

#include <map>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace windlass {
namespace {

struct KindName {
  DigestKind kind;
  const char* name;
};

constexpr KindName kKinds[] = {{DigestKind::kNone, "none"},
                               {DigestKind::kXxh3, "xxh3"},
                               {DigestKind::kSha256, "sha256"}};

// Built on first use: registrars run in no particular order.
std::map<DigestKind, DigestRegistrar::Factory>& Factories() {
  static auto* const factories =
      new std::map<DigestKind, DigestRegistrar::Factory>;
  return *factories;
}

}  // namespace

std::optional<DigestKind> ParseDigestKind(absl::string_view name) {
  for (const KindName& known : kKinds) {
    if (name == known.name) return known.kind;
  }
  return std::nullopt;
}

absl::string_view DigestKindName(DigestKind kind) {
  return kKinds[static_cast<int>(kind)].name;
}

absl::StatusOr<std::unique_ptr<Digest>> Digest::Create(DigestKind kind) {
  const auto factory = Factories().find(kind);
  if (factory != Factories().end()) return factory->second();
  return absl::UnimplementedError(absl::StrCat(
      "digest ", DigestKindName(kind), " is not linked into this program"));
}

DigestRegistrar::DigestRegistrar(DigestKind kind, Factory factory) {
  Factories()[kind] = factory;
}

}  // namespace windlass
