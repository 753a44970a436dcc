// Times the samplers of OpenVDB and NanoVDB on points: nanovdb_samplers FILE.vdb POINTS THREADS [OUT [RUNS]]
//
// FILE.vdb holds a float grid first, POINTS n triples of doubles in index space. Prints one line for each sampler: its
// name and the best of RUNS (five unless given) in milliseconds. OUT receives the values, n floats of each sampler; it
// may be empty.

#include <nanovdb/util/OpenToNanoVDB.h>
#include <nanovdb/util/SampleFromVoxels.h>
#include <openvdb/openvdb.h>
#include <openvdb/tools/Interpolation.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <thread>
#include <vector>

namespace {

std::vector<double> points;
std::vector<float> values;
int num_threads = 1;
int num_runs = 5;
std::ofstream out;

template<typename MakeSampler>
void measure(const char* name, MakeSampler make)
{
    const size_t count = values.size();
    double best = 1e300;
    for (int run = 0; run < num_runs; ++run) {
        const auto start = std::chrono::steady_clock::now();
        std::vector<std::thread> threads;
        for (int t = 0; t < num_threads; ++t) {
            threads.emplace_back([&, t] {
                auto sample = make();
                for (size_t i = count * t / num_threads; i < count * (t + 1) / num_threads; ++i) {
                    values[i] = sample(&points[3 * i]);
                }
            });
        }
        for (auto& thread : threads) thread.join();
        const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
        best = std::min(best, taken.count());
    }
    std::cout << name << ' ' << best << '\n';
    if (out) out.write(reinterpret_cast<const char*>(values.data()), sizeof(float) * count);
}

template<int Order>
void measure_nano(const char* name, const nanovdb::FloatGrid& grid)
{
    measure(name, [&grid] {
        return [accessor = grid.getAccessor()](const double* p) {
            return nanovdb::createSampler<Order, decltype(accessor), false>(accessor)(nanovdb::Vec3d(p[0], p[1], p[2]));
        };
    });
}

template<typename Sampler>
void measure_open(const char* name, const openvdb::FloatGrid& grid)
{
    measure(name, [&grid] {
        return [accessor = grid.getConstAccessor()](const double* p) {
            return Sampler::sample(accessor, openvdb::Vec3R(p[0], p[1], p[2]));
        };
    });
}

} // namespace

int main(int argc, char** argv)
{
    if (argc < 4) return 2;
    openvdb::initialize();
    openvdb::io::File file(argv[1]);
    file.open();
    const auto grid = openvdb::gridPtrCast<openvdb::FloatGrid>(file.getGrids()->front());
    std::ifstream in(argv[2], std::ios::binary);
    const std::vector<char> bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    points.resize(bytes.size() / sizeof(double));
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(points.data()));
    values.resize(points.size() / 3);
    num_threads = std::atoi(argv[3]);
    if (argc > 5) num_runs = std::atoi(argv[5]);
    if (argc > 4 && argv[4][0]) out.open(argv[4], std::ios::binary);
    else out.setstate(std::ios::failbit);
    const auto handle = nanovdb::openToNanoVDB(*grid);
    measure_nano<0>("nanovdb-nearest", *handle.grid<float>());
    measure_nano<1>("nanovdb-trilinear", *handle.grid<float>());
    measure_nano<3>("nanovdb-tricubic", *handle.grid<float>());
    measure_open<openvdb::tools::PointSampler>("openvdb-nearest", *grid);
    measure_open<openvdb::tools::BoxSampler>("openvdb-trilinear", *grid);
    return 0;
}
