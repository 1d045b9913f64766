# SPDX-License-Identifier: Apache-2.0
# Given to CMake by the set-up: compiles the sources of each C++ type support in one go, which halves the build.
# (Not those of introspection: their order matters.)
function(dex_compile_type_supports_at_once)
  get_property(targets DIRECTORY PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target IN LISTS targets)
    if(target MATCHES "__rosidl_typesupport_(cpp|fastrtps_cpp|fastrtps_c)$")
      set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
    endif()
  endforeach()
endfunction()
cmake_language(DEFER CALL dex_compile_type_supports_at_once)
