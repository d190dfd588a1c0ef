// Which units a module holds, best first, and which of them this processor can run. `Kernels` is the module's own table
// of functions; of it only `name`, a rung of the ladder, is looked at.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "cpu.hpp"

namespace perwatt {

template <class Kernels>
class Units {
 public:
  // One for each translation unit of this architecture; scalar, which can always run, is one of them.
  explicit Units(std::vector<const Kernels*> built) {
    for (const cpu::Rung& rung : cpu::ladder()) {
      for (const Kernels* each : built) {
        if (rung.name == std::string(each->name)) built_.insert(built_.begin(), each);
      }
    }
  }

  const std::vector<const Kernels*>& built() const { return built_; }

  std::vector<const Kernels*> able() const {
    std::vector<const Kernels*> found;
    std::copy_if(built_.begin(), built_.end(), std::back_inserter(found),
                 [](const Kernels* each) { return cpu::can_run(each->name); });
    return found;
  }

  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const Kernels* each : built_) all.emplace_back(each->name);
    return all;
  }

  // The built unit of that name, or null.
  const Kernels* find(const std::string& name) const {
    const auto found = std::find_if(built_.begin(), built_.end(), [&](const Kernels* each) { return name == each->name; });
    return found == built_.end() ? nullptr : *found;
  }

  // The same, or null when this processor cannot run it.
  const Kernels* find_able(const std::string& name) const { return cpu::can_run(name) ? find(name) : nullptr; }

 private:
  std::vector<const Kernels*> built_;
};

}  // namespace perwatt
