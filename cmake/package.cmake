# Debian packages by `cpack`: basewarm, the programs, and libcachedir-dev, the library for others.
# Bit for bit the same for the same SOURCE_DATE_EPOCH.
set(documentation ${CMAKE_INSTALL_DATADIR}/doc)
string(TIMESTAMP package_date "%a, %d %b %Y %H:%M:%S +0000" UTC)
set(package_maintainer "The basewarm maintainers <maintainers@basewarm.example.org>")
set(licence "No licence has been chosen yet: all rights are reserved.")
if(EXISTS ${CMAKE_SOURCE_DIR}/LICENSE)
  file(READ ${CMAKE_SOURCE_DIR}/LICENSE licence)
endif()
configure_file(cmake/copyright.in package/copyright @ONLY)
foreach(package basewarm libcachedir-dev)
  # Debian's form of a changelog; ours, for people, is CHANGELOG.md.
  configure_file(cmake/changelog.in package/${package}/changelog @ONLY)
  add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/package/${package}/changelog.gz
    COMMAND gzip -9nc ${CMAKE_BINARY_DIR}/package/${package}/changelog
            > ${CMAKE_BINARY_DIR}/package/${package}/changelog.gz
    DEPENDS ${CMAKE_BINARY_DIR}/package/${package}/changelog VERBATIM)
  list(APPEND changelogs ${CMAKE_BINARY_DIR}/package/${package}/changelog.gz)
  string(REPLACE basewarm runtime component ${package})
  string(REPLACE libcachedir-dev dev component ${component})
  install(FILES ${CMAKE_BINARY_DIR}/package/copyright
                ${CMAKE_BINARY_DIR}/package/${package}/changelog.gz
          DESTINATION ${documentation}/${package} COMPONENT ${component})
endforeach()
add_custom_target(package-changelogs ALL DEPENDS ${changelogs})
install(FILES README.md CHANGELOG.md SECURITY.md DESTINATION ${documentation}/basewarm COMPONENT runtime)

set(CPACK_GENERATOR DEB)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL runtime dev)
set(CPACK_PACKAGE_NAME basewarm)
set(CPACK_PACKAGE_VENDOR basewarm)
set(CPACK_PACKAGE_CONTACT "${package_maintainer}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)

set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME basewarm)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_RECOMMENDS ca-certificates)
set(CPACK_DEBIAN_RUNTIME_DESCRIPTION
    "warmer pulls base images into the directory that kaniko's executor reads with
--cache-dir; cachedir lists, verifies, repairs and prunes that directory.")
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libcachedir-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS
    "libarchive-dev, libjansson-dev, libssl-dev, libzstd-dev, zlib1g-dev")
set(CPACK_DEBIAN_DEV_DESCRIPTION
    "Development files: the static library and the headers with which basewarm's
programs read and write the cache directory of kaniko's executor.")
include(CPack)
