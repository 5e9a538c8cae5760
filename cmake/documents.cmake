# What is made from a program's tables of options, by running it: completion scripts and the
# OPTIONS section of its manual page, which takes the place of the line "@OPTIONS@" in NAME.1.in.
function(program_documents program)
  if(CMAKE_CROSSCOMPILING)
    message(STATUS "No manual page and no completion of ${program}: it cannot be run here")
    return()
  endif()
  set(made)
  foreach(shell bash zsh fish)
    set(script ${CMAKE_CURRENT_BINARY_DIR}/completion/${program}.${shell})
    add_custom_command(OUTPUT ${script}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/completion
      COMMAND $<TARGET_FILE:${program}> --completion ${shell} > ${script}
      DEPENDS ${program} VERBATIM)
    list(APPEND made ${script})
  endforeach()

  set(page ${CMAKE_CURRENT_BINARY_DIR}/${program}.1)
  add_custom_command(OUTPUT ${page}
    COMMAND $<TARGET_FILE:${program}> --completion man > ${page}.options
    COMMAND sed -e "s/@VERSION@/${PROJECT_VERSION}/" -e "/^@OPTIONS@/{"
            -e "r ${page}.options" -e d -e "}"
            ${CMAKE_CURRENT_SOURCE_DIR}/${program}.1.in > ${page}
    DEPENDS ${program} ${program}.1.in VERBATIM)
  add_custom_command(OUTPUT ${page}.gz
    COMMAND gzip -9nc ${page} > ${page}.gz
    DEPENDS ${page} VERBATIM)
  add_custom_target(${program}-documents ALL DEPENDS ${made} ${page}.gz)

  install(FILES ${page}.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/completion/${program}.bash
          DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME ${program})
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/completion/${program}.zsh
          DESTINATION ${BASEWARM_ZSH_DIR} RENAME _${program})
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/completion/${program}.fish
          DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endfunction()
