#include "draft_object.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "python_arrays.hpp"

namespace perwatt {
namespace {

using Bytes = Vector<const uint8_t>;

const uint8_t* contiguous(const Bytes& bytes) {
  require(bytes.shape(0) < 2 || bytes.stride(0) == 1, "bytes must be contiguous");
  return bytes.data();
}

nb::bytes python_bytes(const std::vector<uint8_t>& bytes) {
  return nb::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void check_range(const Drafting& drafting, size_t first, size_t last) {
  require(first < last && last <= drafting.parts().count(), "there are no such parts");
}

uint64_t* counter(const Vector<uint64_t>& done) {
  require(done.shape(0) == 1, "done must be one number");
  return done.data();
}

void meet(DraftObject& draft, size_t first, size_t last, size_t threads, Vector<uint64_t> done) {
  Drafting& drafting = draft.drafting();
  check_range(drafting, first, last);
  uint64_t* counted = counter(done);
  nb::gil_scoped_release unlocked;
  drafting.meet(first, last, threads, counted);
}

nb::bytes parcel(DraftObject& draft, size_t first, size_t last) {
  Drafting& drafting = draft.drafting();
  check_range(drafting, first, last);
  std::vector<uint8_t> bytes;
  {
    nb::gil_scoped_release unlocked;
    bytes = parcel_of(drafting, first, last);
  }
  return python_bytes(bytes);
}

void take(DraftObject& draft, size_t first, size_t last, uint64_t hash, Bytes reply, Vector<uint64_t> done) {
  Drafting& drafting = draft.drafting();
  check_range(drafting, first, last);
  const uint8_t* bytes = contiguous(reply);
  uint64_t* counted = counter(done);
  nb::gil_scoped_release unlocked;
  take_reply(drafting, first, last, hash, bytes, reply.shape(0));
  const Parts& parts = drafting.parts();
  __atomic_fetch_add(counted, parts.starts[last] - parts.starts[first], __ATOMIC_RELAXED);
}

void link(DraftObject& draft, size_t threads, Matrix<int32_t> out, Vector<uint64_t> done) {
  Drafting& drafting = draft.drafting();
  require(out.shape(0) == drafting.graph().count && out.shape(1) == drafting.plan().degree,
          "out must be (count, degree)");
  check_contiguous(out, "out must be contiguous");
  uint64_t* counted = counter(done);
  nb::gil_scoped_release unlocked;
  drafting.link(threads, counted, out.data());
  draft.finish();
}

nb::bytes reply(Bytes parcel, size_t threads, const std::string& unit) {
  const Kernels& kernels = unit_named(unit);
  const uint8_t* bytes = contiguous(parcel);
  std::vector<uint8_t> made;
  {
    nb::gil_scoped_release unlocked;
    made = reply_to(kernels, bytes, parcel.shape(0), threads);
  }
  return python_bytes(made);
}

}  // namespace

DraftObject::DraftObject(const Kernels& kernels, const GraphView& graph, Which which, const Plan& plan, size_t threads) {
  if (which.at) {
    which_.reserve(which.count + 1);  // an empty one needs an address too
    which_.assign(which.at, which.at + which.count);
    which.at = which_.data();
  }
  drafting_ = std::make_unique<Drafting>(kernels, graph, which, plan, threads);
}

Drafting& DraftObject::drafting() {
  require(drafting_ != nullptr, "the draft is linked already");
  return *drafting_;
}

void bind_draft(nb::module_& m) {
  nb::class_<DraftObject>(m, "Draft")
      .def_prop_ro("starts", [](DraftObject& draft) { return draft.drafting().parts().starts; })
      .def("meet", meet, "first"_a, "last"_a, "threads"_a, "done"_a.noconvert())
      .def("parcel", parcel, "first"_a, "last"_a)
      .def("take", take, "first"_a, "last"_a, "hash"_a, "reply"_a.noconvert(), "done"_a.noconvert())
      .def("link", link, "threads"_a, "out"_a.noconvert(), "done"_a.noconvert());
  m.def("parcel_hash",
        [](Bytes parcel) {
          require(parcel.shape(0) >= sizeof(ParcelHead), "a parcel has at least its head");
          return hash_of_parcel(contiguous(parcel));
        },
        "parcel"_a.noconvert());
  m.def("reply_to", reply, "parcel"_a.noconvert(), "threads"_a = 1, "unit"_a = "");
}

}  // namespace perwatt
